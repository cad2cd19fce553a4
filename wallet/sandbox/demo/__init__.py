"""The main story over the public API, told in a terminal, with the chain's own word beside ours."""
