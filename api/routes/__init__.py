"""The routes of `/v1`: translate, authenticate, render. Rules live in `wallet`."""
