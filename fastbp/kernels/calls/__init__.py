"""What the public face hands its arrays to."""
