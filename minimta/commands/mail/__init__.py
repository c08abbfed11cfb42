"""mail(1): POSIX mailx for machines without one; sends by sendmail, reads mbox files under their locks."""
