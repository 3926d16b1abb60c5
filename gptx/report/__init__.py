"""Reports of run folders: the signals as panels of curves, on a page and as a picture."""
