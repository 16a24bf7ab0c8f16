"""What a flow would ask and cost, before it asks."""
