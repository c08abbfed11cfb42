"""What can be set, and where: options, configuration file, command line. Imports no other room.

options       the one table of options; an Options holds their values
values        readers, text to value; ports reads DaemonPortOptions
file          the configuration file
commandline   sendmail's flags
"""
