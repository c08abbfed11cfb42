"""The administrator's doors: install, demo, test."""
