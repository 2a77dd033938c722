"""What is computed about a world, not learned by the agent."""
