"""What people may send out of the house in a day."""
