"""Filters of mail (milter): what is said to them, and what their answers mean."""
