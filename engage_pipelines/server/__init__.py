"""What people and programs reach over HTTP: the console and the API, two faces of the same functions of the registry."""
