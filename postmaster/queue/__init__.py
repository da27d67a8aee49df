"""Messages in Postfix's queue: reading them and acting on them."""
