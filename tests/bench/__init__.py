"""How fast and at what cost mail is sent, beside other senders: see __main__.py."""
