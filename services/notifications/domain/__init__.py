"""Pure rules of mail: which submissions get a delivery, when a mail goes, what it covers, what an SMTP answer means."""
