"""The pattern IR: index-notation expressions (`expr`), five node kinds (`nodes`), printer, parser and verifier."""
