# By its name only.
