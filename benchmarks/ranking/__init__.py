"""Is the recommended teacher really better? Rankings against the accuracy of students distilled from every teacher."""
