"""Cross-border payments: from a quote to a bank account abroad, or back."""
