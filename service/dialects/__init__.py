"""Other services' protocols, translated onto the same decisions and events: Azure Personalizer v1.0 and metarank."""
