"""Where the events of a run go: console, JSONL, CSV, plots, report. One file each; none can stop a run."""
