"""What on this machine would keep the stack from running well."""
