"""The ground floor: values and protocols that every layer uses, and that use no layer."""
