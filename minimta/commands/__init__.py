"""The commands that people and programs call, one file a command; bin/ has a line for each.

sendmail is the one with many modes: submission and listener do -bm, -bs and -bd, the others are here:
mailq (-bp), newaliases (-bi), start_runner (-q), testmode (-bt), verify (-bv).
"""
