"""Tables on disk: text tables that are read whole, and constant databases (cdb) that are asked."""
