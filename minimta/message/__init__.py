"""The words that everything else uses: a message, its envelope, and what becomes of it.

Nothing here opens a file or imports another room.

address, addresslist                 one address, and lists of them in header fields
internationalized                    addresses beyond ASCII
headers, received, missing_fields    header blocks, and what is added to them
mime_entity                          one entity of MIME: its fields, type and encoding
mime8to7, binary_mime                an 8-bit message for a 7-bit host, a binary one as text
envelope, outcome                    who sends to whom, and what became of each recipient
dates, fullname, printable, xtext    texts as mail, logs and DSN parameters write them
"""
