"""Names of the environment that the mutation campaign and its pytest plugin share."""

SOCKET = "BIFOLD_MUTATION_SOCKET"
TEMPLATE = "BIFOLD_MUTATION_TEMPLATE"
TREE = "BIFOLD_MUTATION_TREE"
