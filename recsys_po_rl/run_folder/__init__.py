"""Files of a run folder: names, formats, reading and writing."""
