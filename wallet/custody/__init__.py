"""Which address is whose: deposit addresses, and the addresses of the house itself."""
