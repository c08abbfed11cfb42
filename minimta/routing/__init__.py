"""From an address to where its mail goes.

local_host, recipients     what this host is, and who lives here
route                      this host, a next hop, or an error (Sendmail's rule set 0)
expand, destination        one message's addresses through aliases, .forward files and lists
targets                    what those texts say
forward, include           reading the files of users
controlling_user           who answers for the programs and files that they name
"""
