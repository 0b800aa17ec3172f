"""Find passages by their words and by their meaning, in Korean and in English."""
