"""What may be set, by whom and how: options, configuration file, command line. Imports nothing of ours.

options       the one table of options; an Options holds their values
values        readers, text to value; ports reads DaemonPortOptions
file          the configuration file
commandline   sendmail's flags
"""
