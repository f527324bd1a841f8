"""What operators do to accounts, keys, prices and money: each act one transaction that leaves its row of the audit."""
