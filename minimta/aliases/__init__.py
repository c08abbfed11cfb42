"""The alias files: text is the source of truth, a cdb beside it is what is asked.

lookup                     all files of option AliasFile, as one question
source, text               one file, and how its text is read
rebuild, rebuild_report    newaliases, and what it tells
"""
