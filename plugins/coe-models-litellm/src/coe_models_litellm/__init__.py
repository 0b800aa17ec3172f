"""Reach the long tail of model providers through litellm."""
