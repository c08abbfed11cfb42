"""The queue directory, as Sendmail lays it out.

A message is ours exactly while its qf exists:

    state       df  tf  qf   who may see it         after a crash here
    arriving    +   ?   -    only its creator       swept away; the client got no 250
    queued      +   -   +    anyone with the lock   nothing to do
    rewriting   +   +   +    the lock holder        tf swept away, the old qf stands
    leaving     +   -   -    the lock holder        df swept away
    quarantined +   -   Qf   the administrator      never acted on, never deleted

``hf`` instead of ``qf`` is Sendmail's own quarantine (option -Q, or the access table): kept, and run
by -qQ only. Its q line alone keeps runs away, so that nothing is lost or run between two names.
``af`` beside any of them tells what failed so far, for people (``failed_attempts``).
"""
