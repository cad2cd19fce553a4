"""Solidity sources, their committed ABI and bytecode, and one loader. Data only."""
