"""What arrives on chain: scanned block by block, credited once it is final."""
