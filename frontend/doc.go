// Package frontend owns the dashboard: HTML pages over the API. It reaches the API through the generated Connect clients alone, so that
// its calls pass the same interceptors as everybody's, and keeps nothing on the server: a browser's session is its token in a cookie.
// internal/app imports it; it imports the wire contract and frontend/pages.
package frontend
