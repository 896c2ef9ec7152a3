"""Pure rules of the mail: which submissions get one, when it goes, what it covers, what an SMTP answer means."""
