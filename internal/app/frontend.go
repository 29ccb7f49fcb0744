package app

// mountFrontend serves the dashboard beside the API.
func (a *App) mountFrontend() error { return nil }
