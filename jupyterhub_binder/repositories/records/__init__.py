"""Published records: download, verify, unzip and check out."""
