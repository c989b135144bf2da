"""What tests share: real servers and ways to hurt them."""
