"""Money: amounts and prices, balances and the double-entry ledger, holds, settlement, recovery and the books' audit."""
