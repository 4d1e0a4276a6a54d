"""What is known of one customer: shown, exported, allowed and erased."""
