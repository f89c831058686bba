"""A Django project that sends mail the way a help desk does: a message of its own for each person
that a ticket concerns, with an alternative in HTML, attachments, and headers that keep a thread
together and auto-responders quiet. The test beside it drives it in processes of its own."""
