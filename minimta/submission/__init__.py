"""``sendmail ADDRESS < message``: a message of a local user, from standard input into a queue.

caller          who runs the command, and which queue is open to them
sender          whom the message is from
stdin           its text, made canonical
submit          the steps: recipients, text, queue, and what to tell if that fails
delivery_mode   whether it is tried at once, and by whom
deadletter      where it goes if it can neither be queued nor returned
"""
