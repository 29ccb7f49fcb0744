// Package browser proves the dashboard's pages in Chromium: on a whole server with real runs, every page, wide and narrow, light and dark, is
// free of what axe-core finds, fits its window, is quiet on the console and keeps to its security policy; every control is reached by Tab with
// a visible focus; the list of runs follows what happens. It has tests only.
//
// One Node process drives the browser (drive.js and what it imports): it reads its jobs as JSON and answers with a report. TENON_SCREENSHOTS
// names a folder that gets a picture of every page; without it none is made. scripts/setup-test.sh installs what the Node side needs.
package browser
