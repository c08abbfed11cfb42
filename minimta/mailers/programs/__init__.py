"""Mailers that run programs: those of aliases and .forward files, and an agent as LocalMailer."""
