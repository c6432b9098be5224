"""novum_text"""
