"""From words and files to objects: what a config may name, checked before anything is built."""
