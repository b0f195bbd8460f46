"""What data looks like: Arrow schemas, the taxonomy, and the models of recipes, charters and runs."""
