"""A plugin of each kind, whole and working, to be copied: `Example` becomes the new one's name."""
