"""Quality of rankings: compared with the accuracy of students distilled from every teacher."""
