"""Names of the environment that the mutation campaign and its pytest plugin share."""

SOCKET = "BIFOLD_MUTATION_SOCKET"
TEMPLATE = "BIFOLD_MUTATION_TEMPLATE"
TREE = "BIFOLD_MUTATION_TREE"
MAP = "BIFOLD_MUTATION_MAP"
"""A file that gets a line for each test: what it enters. Absent: nothing is recorded."""
