"""Who acts: principals, users, passwords, sessions."""
